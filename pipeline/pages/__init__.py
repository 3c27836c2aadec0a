"""Documents of headings, sentences, tables and drawings, as Markdown for a terminal and as a page for a browser."""
