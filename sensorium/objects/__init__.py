"""Things in the world: put together from the segments of many pictures, with one identity each."""
