return {
  acquire = acquire, withdraw = withdraw, release = release, release_lease = release_lease,
  release_or_keep = release_lease, extend = extend, rename = rename, newest = newest,
  free_all = free_all, free_owned = free_owned, inspect = inspect, hand_on = hand_on,
}
