"""report: pictures, tables and the page."""
