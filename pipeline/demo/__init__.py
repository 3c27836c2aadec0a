"""``make demo``: a local page to drop a picture on."""
