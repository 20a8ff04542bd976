"""Sound, speech, geometry and results of talking faces (chapter 5)."""
