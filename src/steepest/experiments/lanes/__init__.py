"""Many small networks trained at once, each equal to its training by itself: `suited` tells which, `train` trains."""
