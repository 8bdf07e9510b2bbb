"""The model folder: config, weights, tokenizer and card; read with checks, written atomically."""
