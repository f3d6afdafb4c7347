"""The checkpoint fcclip-small; a package only so that the files are installed."""
