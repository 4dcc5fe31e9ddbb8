"""What other attacks are held against: noise, gradients of another model, of the model itself."""
