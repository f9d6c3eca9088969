"""What RecBole's Trainer cannot do by itself."""
