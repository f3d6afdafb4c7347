"""Words and their directions, distilled from MiniLM; see README.md for source and licence."""
