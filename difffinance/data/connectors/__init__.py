"""One file per source; each turns a vendor's files or answers into the tables of `schemas`."""
