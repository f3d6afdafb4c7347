"""Policy `geo` for the tabletop world; see README.md."""
