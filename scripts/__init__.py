"""Programs for those who work on the library; each says what it does."""
