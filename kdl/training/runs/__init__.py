"""Training runs that are kept in a folder."""
