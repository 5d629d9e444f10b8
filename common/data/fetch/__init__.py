"""Files from elsewhere: downloaded whole and verified, unpacked, counted; AutoVI above all."""
