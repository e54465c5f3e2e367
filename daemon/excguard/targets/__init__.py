"""The life of a watched program: started and restarted, attached to, or registering itself."""
