"""Good images that are not good: looked over before a bank is built of them."""
