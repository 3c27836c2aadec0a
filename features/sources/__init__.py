"""Where pictures come from: a folder, a list, a torchvision data set by name; the choice among them."""
