"""Names that other projects give to the layers of a family."""
