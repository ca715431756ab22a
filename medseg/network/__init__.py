"""The autoencoder, its loss, training and inference."""
