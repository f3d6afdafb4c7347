"""The policy `geo`: an instruction, a picture and geometry tokens to a chunk of tip motions."""
