"""Every exception a user can meet; the command line turns each into one line and exit code 2."""


class DiffFinanceError(Exception):
    """The input or the surroundings are wrong; the message says what was given, what is allowed, what to do."""


class InputError(DiffFinanceError, ValueError):
    """An argument is out of range, of the wrong shape or of the wrong kind."""


class ConfigError(InputError):
    """A configuration field is unknown or its value is not allowed."""


class DataError(InputError):
    """A file or table breaks its schema; the message names file and row, in a binary file the byte."""

    def __init__(
        self, reason: str, *, file: str | None = None, row: int | None = None, byte: int | None = None
    ) -> None:
        parts = (file, None if row is None else f"row {row}", None if byte is None else f"byte {byte}")
        place = ", ".join(p for p in parts if p)
        super().__init__(f"{place}: {reason}" if place else reason)
        self.reason, self.file, self.row, self.byte = reason, file, row, byte


class NotInLakeError(DiffFinanceError, LookupError):
    """A table, fit or checkpoint was asked for and is not in the lake."""


class StoreError(DiffFinanceError, OSError):
    """The lake could not be written (disk full, no permission); what was there before is untouched."""


class NetworkError(DiffFinanceError, ConnectionError):
    """A data vendor could not be reached, refused, or answered with nothing."""


class CheckpointError(InputError):
    """A checkpoint is incomplete, damaged, or of another shape than the model."""


class CostLawError(InputError):
    """A law that only describes the market was offered as a price list, or it can be milked."""


class RefusedFit(DiffFinanceError):
    """The data cannot tell the parameters; the message gives the reason."""
