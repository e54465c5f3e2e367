"""What XNU's own code answered to sequences of port calls, and a runner that compares a kernel with it."""
