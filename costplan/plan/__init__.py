"""From predictions and prices to money: today the cost of one deployment."""
