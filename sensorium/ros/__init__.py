"""The kit that every node stands on: what ROS 2 needs from a node, and nothing about models."""
