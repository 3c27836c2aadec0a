"""What decides: where the network looks (Grad-CAM), what each wire adds, and how unlike the training a picture is."""
