"""Follow a node as it changes: the feed inside its process, and the commands `node watch` and `node events`."""
