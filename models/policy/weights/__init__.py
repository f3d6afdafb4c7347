"""Trained policies, one folder each in LeRobot's checkpoint layout."""
