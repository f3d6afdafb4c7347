"""Segmentation without ROS: evaluation on COCO-format panoptic data."""
