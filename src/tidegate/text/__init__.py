"""Text: files become documents, documents become tokens, tokens become a store that training reads."""
