"""Vocabulary data files of the tokenizer; a package, so that installers copy them."""
