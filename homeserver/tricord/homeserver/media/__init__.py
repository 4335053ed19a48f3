"""Media: what people share as files, where its bytes are kept, and in what form it is given to others."""
