"""What every training script shares."""
