"""The Hugging Face Hub: who may write there, what is pushed when, and proof that it arrived."""
