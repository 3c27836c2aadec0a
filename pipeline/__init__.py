"""Stages 2 and 3: train the dressed quantum network on cached features, then reattach it to its backbone."""
