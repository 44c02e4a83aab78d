"""What a resumed run needs: its folder, its last checkpoint, and the lock that keeps other processes out."""
