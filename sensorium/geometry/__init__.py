"""Geometry from windows of RGB-D views: validation, backends, tokens, filters and the fused map.

Everything here is free of ROS. A backend (``backend.GeometryBackend``) turns views into points in
their optical frame; ``filters`` and ``capsules`` remove what must not enter the map; ``fusion``
keeps the map.
"""
