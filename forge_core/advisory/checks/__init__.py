"""What the rule-based adviser looks at: each check takes the matter and gives points."""
