"""Image sets: eight pictures each, with a manifest that says what they are and how to know them again."""
