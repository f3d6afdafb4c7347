"""ROS 2 nodes, one per file and thin: parameters, topics, hand-over (top floor)."""
