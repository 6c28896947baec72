"""What a person wants to see; reads only."""
