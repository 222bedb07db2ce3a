"""One case while it is corrected: session, tools, limits and scribbles joined, without Qt."""
