"""Only known code: what an app is made of, which apps are trusted, and Flower's own programs."""
