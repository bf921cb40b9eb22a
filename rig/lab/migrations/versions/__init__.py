"""The steps, each naming the one before it. What was released is never changed: a new step follows."""
