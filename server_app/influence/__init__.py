"""What each station's rows and words do to everybody: numbers, and a verdict for each station."""
