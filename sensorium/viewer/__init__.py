"""A live view in a web page: scene, plots, and boxes that command. Knows no ROS."""
