"""Temporal's query language: from a text to what a storage is asked (5.3).

`syntax` reads the text and knows no attribute; `fields` knows which there are, and what each may be compared with; `query` puts
both together. Anything that is listed by such queries can use them: what a query means is said by `storage.run_queries`.
"""
