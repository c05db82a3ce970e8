"""Reports for people: one self-contained HTML page that shows and plays what a unit model made of speech."""
