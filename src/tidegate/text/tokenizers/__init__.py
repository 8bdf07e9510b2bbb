"""The kinds of tokenizer, one a file; `tidegate.text.tokenizer` chooses among them."""
