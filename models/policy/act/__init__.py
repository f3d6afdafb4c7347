"""Action Chunking with Transformers (ACT, Zhao et al. 2023) in LeRobot's form."""
