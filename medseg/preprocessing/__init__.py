"""From a scan to its working image: foreground, plan, working grid."""
