"""What RecBole's Trainer cannot do: steps that wait for nothing, graphs of steps, ranking without a matrix."""
