"""Is a difference between methods more than chance, and how large is it?"""
